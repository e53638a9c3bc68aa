"""The sheet: letterhead, footer and page numbers in the organization's colour. `pdf` fills it."""

from __future__ import annotations

from fpdf import FPDF

from invoicing import fonts
from invoicing.organizations import Organization

LEFT, RIGHT, TOP = 25.0, 20.0, 32.0
WIDTH = 210.0 - LEFT - RIGHT
_FOOT = 36.0
_INK, _GREY, _RULE = (28, 32, 36), (104, 110, 116), (208, 212, 216)
_LINE = 0.5 / 72 * 25.4


class Paper(FPDF):
    """A4 pages of one organization. All lengths are millimetres, font sizes points."""

    def __init__(self, organization: Organization, number: str) -> None:
        super().__init__(format="A4")
        self._organization = organization
        self._number = number
        self.add_font(fonts.FAMILY, "", fonts.REGULAR)
        self.add_font(fonts.FAMILY, "B", fonts.BOLD)
        self.set_margins(LEFT, TOP, RIGHT)
        self.set_auto_page_break(True, _FOOT)
        self.c_margin = 0.0  # text and rules begin at the same place

    def ink(self, size: float, *, bold: bool = False, grey: bool = False, accent: bool = False) -> None:
        """The pen for what comes next."""
        self.set_font(fonts.FAMILY, "B" if bold else "", size)
        self.set_text_color(*(self._organization.accent if accent else _GREY if grey else _INK))

    def put(self, x: float, y: float, width: float, text: str, *, align: str = "L", height: float = 4.6) -> None:
        """One line of text in a box whose upper left corner is given."""
        self.set_xy(x, y)
        self.cell(width, height, text, align=align)

    def rule(self, y: float, *, x: float = LEFT, width: float = WIDTH, accent: bool = False) -> None:
        self.set_line_width(0.4 if accent else _LINE)
        self.set_draw_color(*(self._organization.accent if accent else _RULE))
        self.line(x, y, x + width, y)

    def room(self) -> float:
        """What is left of the page above the footer."""
        return float(self.page_break_trigger - self.get_y())

    def header(self) -> None:
        if self.page_no() == 1:
            self._letterhead()
        else:
            self._running_head()

    def _letterhead(self) -> None:
        seller = self._organization
        self.set_fill_color(*seller.accent)
        self.rect(0, 0, 210, 3.5, style="F")
        self.ink(19, bold=True, accent=True)
        self.put(LEFT, 15, WIDTH, seller.name, height=8)
        self.ink(9.5, grey=True)
        self.put(LEFT, 23.2, WIDTH, seller.tagline)

    def _running_head(self) -> None:
        self.ink(9, bold=True, accent=True)
        self.put(LEFT, 15, WIDTH, self._organization.name)
        self.ink(9, grey=True)
        self.put(LEFT, 15, WIDTH, f"Invoice {self._number}", align="R")
        self.rule(21)
        self.set_xy(LEFT, 28)

    def footer(self) -> None:
        seller = self._organization
        top = 297 - _FOOT + 8
        self.rule(top - 2.5)
        columns = (
            (seller.name, *seller.address, seller.country),
            (seller.phone, seller.email, f"VAT ID {seller.vat_id}", seller.registered),
            (seller.bank, f"IBAN {seller.iban}", f"BIC {seller.bic}"),
        )
        self.ink(7.5, grey=True)
        for number, column in enumerate(columns):
            for row, text in enumerate(column):
                self.put(LEFT + number * WIDTH / 3, top + row * 3.5, WIDTH / 3, text, height=3.5)
        # {nb} is wider than the number that replaces it, so the line is centred by hand.
        middle = LEFT + (WIDTH - self.get_string_width(f"Page {self.page_no()} of 1")) / 2
        self.put(middle, 297 - 12, WIDTH, f"Page {self.page_no()} of {{nb}}", height=3.5)
