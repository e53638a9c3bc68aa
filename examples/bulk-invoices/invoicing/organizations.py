"""Who sends the invoices: letterhead, bank, number series and tax rates of each organization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

TAX_CLASSES = ("standard", "reduced", "zero", "reverse-charge")


@dataclass(frozen=True, slots=True)
class Organization:
    """One seller. `series` begins its numbers, `rates` are percent by tax class, `accent` is RGB."""

    series: str
    name: str
    tagline: str
    address: tuple[str, ...]
    country: str
    currency: str
    rates: Mapping[str, Decimal]
    email: str
    phone: str
    vat_id: str
    registered: str
    bank: str
    iban: str
    bic: str
    accent: tuple[int, int, int]


def _rates(standard: str, reduced: str) -> Mapping[str, Decimal]:
    return MappingProxyType(
        {
            "standard": Decimal(standard),
            "reduced": Decimal(reduced),
            "zero": Decimal(0),
            "reverse-charge": Decimal(0),
        }
    )


# Names, numbers and accounts are inventions; the IBANs are those that the banks publish as samples.
ORGANIZATIONS: Mapping[str, Organization] = MappingProxyType(
    {
        "nordlicht": Organization(
            series="NL",
            name="Nordlicht Büroausstattung GmbH",
            tagline="Office furniture and lighting",
            address=("Große Elbstraße 47", "22767 Hamburg"),
            country="Germany",
            currency="EUR",
            rates=_rates("19", "7"),
            email="rechnung@nordlicht.example",
            phone="+49 40 5550 1470",
            vat_id="DE 999 999 999",
            registered="Amtsgericht Hamburg, HRB 000000",
            bank="Elbbank Hamburg",
            iban="DE89 3704 0044 0532 0130 00",
            bic="ELBADEFFXXX",
            accent=(23, 78, 116),
        ),
        "atelier-mercier": Organization(
            series="AM",
            name="Atelier Mercier SARL",
            tagline="Papeterie fine et reliure",
            address=("12, quai Saint-Antoine", "69002 Lyon"),
            country="France",
            currency="EUR",
            rates=_rates("20", "5.5"),
            email="factures@atelier-mercier.example",
            phone="+33 4 65 71 00 12",
            vat_id="FR 99 999999999",
            registered="RCS Lyon 000 000 000",
            bank="Banque des Quais",
            iban="FR14 2004 1010 0505 0001 3M02 606",
            bic="QUAIFRPPXXX",
            accent=(122, 44, 62),
        ),
        "harbour-pine": Organization(
            series="HP",
            name="Harbour & Pine Ltd",
            tagline="Workshop supplies since 1987",
            address=("Unit 6, Narrow Quay", "Bristol BS1 4QA"),
            country="United Kingdom",
            currency="GBP",
            rates=_rates("20", "5"),
            email="accounts@harbour-pine.example",
            phone="+44 117 496 0006",
            vat_id="GB 999 9999 99",
            registered="Registered in England, no. 00000000",
            bank="Avon Mutual",
            iban="GB29 NWBK 6016 1331 9268 19",
            bic="AVONGB22XXX",
            accent=(33, 92, 68),
        ),
        "dom-papieru": Organization(
            series="DP",
            name="Dom Papieru Łączność sp. z o.o.",
            tagline="Papier, druk, introligatornia",
            address=("ul. Świętej Gertrudy 18", "31-048 Kraków"),
            country="Poland",
            currency="PLN",
            rates=_rates("23", "8"),
            email="faktury@dom-papieru.example",
            phone="+48 12 555 01 18",
            vat_id="PL 9999999999",
            registered="KRS 0000000000",
            bank="Bank Wawelski",
            iban="PL61 1090 1014 0000 0712 1981 2874",
            bic="WAWEPLPWXXX",
            accent=(88, 60, 122),
        ),
    }
)
