"""Files and orders to items: reading, validation, hashing, limits.

Everything is read as a stream: a million orders need no more memory than a thousand. What is wrong with the
input is gathered (`problems.Problems`) and refused in one go, each reason with its file and line.
"""
