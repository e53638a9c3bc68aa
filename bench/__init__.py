"""How fast batchctl is, beside the limits of the machine and beside other tools. `python -m bench --help`."""
