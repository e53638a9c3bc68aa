"""Writes `orders.csv` and `corrected.csv`, the same at every run: `python make_orders.py`.

500 orders of four organizations. Fourteen are wrong on purpose, in the ways that real exports are;
`corrected.csv` has those as somebody mended them.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

COUNT = 500
FIELDS = (
    "order_id", "organization", "user", "ordered_on", "customer", "contact", "email", "street",
    "postcode", "city", "country", "vat_id", "currency", "payment_days", "lines",
)  # fmt: skip

Order = dict[str, Any]

CURRENCY = {"nordlicht": "EUR", "atelier-mercier": "EUR", "harbour-pine": "GBP", "dom-papieru": "PLN"}
HOME = {
    "nordlicht": "Germany",
    "atelier-mercier": "France",
    "harbour-pine": "United Kingdom",
    "dom-papieru": "Poland",
}
USERS = {
    "nordlicht": ["a.lindner", "j.petersen", "m.yildiz"],
    "atelier-mercier": ["c.mercier", "h.bonnet"],
    "harbour-pine": ["d.okafor", "s.whitcombe", "r.pugh"],
    "dom-papieru": ["z.wisniewska", "t.krol"],
}

# sku, text, lowest and highest price, tax class, whole units only
Article = tuple[str, str, float, float, str, bool]
CATALOGUE: dict[str, list[Article]] = {
    "nordlicht": [
        ("NL-1010", "Desk lamp Leuchtturm, brushed brass, dimmable", 89, 139, "standard", True),
        ("NL-1042", "Pendant light Alster, opal glass, 40 cm", 149, 219, "standard", True),
        (
            "NL-2200",
            "Height-adjustable desk Speicher, oak veneer, 160 × 80 cm, two memory positions",
            689,
            899,
            "standard",
            True,
        ),
        ("NL-2315", "Task chair Kontor, mesh back, castors for hard floors", 329, 449, "standard", True),
        ("NL-3107", "Filing cabinet Hansa, three drawers, lockable", 239, 289, "standard", True),
        ("NL-4001", "Handbook “Light at the workplace”, 4th edition, 312 pages", 24, 34, "reduced", True),
        ("NL-9000", "Delivery and assembly on site, hours", 52, 58, "standard", False),
    ],
    "atelier-mercier": [
        (
            "AM-A5-LIN",
            "Notebook A5, linen cover, 192 pages of 100 g laid paper, thread-sewn, ribbon",
            14,
            22,
            "standard",
            True,
        ),
        ("AM-A6-CUI", "Pocket notebook A6, leather cover", 19, 29, "standard", True),
        ("AM-ENV-C6", "Envelopes C6, deckle edge, box of 50", 17, 21, "standard", True),
        ("AM-PAP-210", "Letter paper Vergé, A4, 210 sheets", 26, 34, "standard", True),
        ("AM-ENC-30", "Ink “Bleu Saône”, 30 ml", 9, 12, "standard", True),
        ("AM-LIV-07", "“La reliure pas à pas”, illustrated, paperback", 21, 27, "reduced", True),
        ("AM-REL", "Rebinding of a volume to order, hours", 48, 64, "standard", False),
    ],
    "harbour-pine": [
        ("HP-CH-25", "Bevel-edge chisel, 25 mm, ash handle", 21, 29, "standard", True),
        ("HP-PL-04", "Bench plane No. 4, ductile iron body, adjustable mouth", 94, 139, "standard", True),
        ("HP-SC-08", "Wood screws 8 × 1½″, brass, slotted", 0.0745, 0.0985, "standard", True),
        ("HP-GL-1L", "Hide glue, 1 litre", 13, 18, "standard", True),
        ("HP-OA-27", "English oak, planed, 27 mm, metres", 18, 26, "standard", False),
        ("HP-FIRST", "First-aid kit for workshops, BS 8599-1, medium", 31, 42, "zero", True),
        ("HP-INS", "Cellulose insulation board, 1.2 × 0.6 m", 8, 12, "reduced", True),
    ],
    "dom-papieru": [
        ("DP-OFF-A4", "Papier offsetowy 80 g/m², A4, ryza 500 arkuszy", 19, 27, "standard", True),
        (
            "DP-KRE-130",
            "Papier kredowy błyszczący 130 g/m², SRA3, paczka 250 arkuszy",
            84,
            112,
            "standard",
            True,
        ),
        (
            "DP-ULO-DL",
            "Druk ulotek DL, dwustronnie, 4+4, folia matowa, składane na trzy, pakowane po 100",
            0.1225,
            0.2875,
            "standard",
            True,
        ),
        ("DP-KAT-48", "Katalog 48 stron, oprawa zeszytowa", 6.4, 9.8, "reduced", True),
        ("DP-TEC-2", "Teczka firmowa z gumką, wykrojnik własny", 3.2, 5.6, "standard", True),
        ("DP-INT", "Prace introligatorskie, godziny", 95, 120, "standard", False),
    ],
}

# "vat" is the prefix of VAT IDs, empty where reverse charge within the EU does not apply.
PLACES: dict[str, dict[str, Any]] = {
    "Germany": {
        "cities": [
            ("22305", "Hamburg"),
            ("80331", "München"),
            ("50667", "Köln"),
            ("04109", "Leipzig"),
            ("99084", "Erfurt"),
        ],
        "streets": ["Lange Reihe", "Müllerstraße", "Am Großen Wannsee", "Bäckerbreitergang", "Schloßstraße"],
        "firms": [
            "Kanzlei Brömmel & Söhne",
            "Praxis Dr. Hälbig",
            "Weiß Maschinenbau GmbH",
            "Buchhandlung am Dom",
            "Ökohof Rüben eG",
        ],
        "people": ["Jürgen Groß", "Änne Köster", "Mert Yıldız", "Sabine Weiß"],
        "vat": "DE",
    },
    "France": {
        "cities": [("69001", "Lyon"), ("75011", "Paris"), ("13002", "Marseille"), ("29200", "Brest")],
        "streets": ["rue de l’Arbre-Sec", "boulevard Voltaire", "quai du Port", "impasse des Cœurs"],
        "firms": [
            "Librairie L’Œil écoute",
            "Hôtel du Château",
            "Étude Lefèvre notaires",
            "Crèche Les Écureuils",
        ],
        "people": ["Maëlle Lefèvre", "Loïc Çelik", "Anaïs Bœuf", "François Noël"],
        "vat": "FR",
    },
    "United Kingdom": {
        "cities": [
            ("BS3 1DB", "Bristol"),
            ("EH6 6QU", "Edinburgh"),
            ("LL57 1DT", "Bangor"),
            ("SE15 4QL", "London"),
        ],
        "streets": ["North Street", "Constitution Street", "Glanrafon Hill", "Rye Lane"],
        "firms": [
            "Fernhill Joinery Ltd",
            "O’Rourke & Daughters",
            "St Werburgh’s City Farm",
            "Bannerman Boatyard",
        ],
        "people": ["Siân Pugh", "Aoife O’Rourke", "Tunde Adeyemi", "Grace Bannerman"],
        "vat": "",
    },
    "Poland": {
        "cities": [("31-027", "Kraków"), ("90-006", "Łódź"), ("80-831", "Gdańsk"), ("50-101", "Wrocław")],
        "streets": ["ul. Mikołajska", "ul. Piotrkowska", "ul. Długa", "ul. Świdnicka"],
        "firms": [
            "Księgarnia Pod Żółwiem",
            "Wydawnictwo Źródło sp. z o.o.",
            "Kancelaria Wójcik i Wspólnicy",
            "Muzeum Inżynierii",
        ],
        "people": ["Zofia Wiśniewska", "Łukasz Błaszczyk", "Małgorzata Jędrzejczyk", "Świętosław Gęś"],
        "vat": "PL",
    },
    "Czechia": {
        "cities": [("602 00", "Brno"), ("110 00", "Praha 1"), ("779 00", "Olomouc")],
        "streets": ["Údolní", "Křížovnická", "Žižkovo náměstí"],
        "firms": ["Řeznictví U Tří čápů", "Nakladatelství Žlutý kůň s.r.o.", "Čajovna Dobrá"],
        "people": ["Jiří Dvořák", "Eliška Šťastná", "Ondřej Kříž"],
        "vat": "CZ",
    },
    "Greece": {
        "cities": [("105 57", "Αθήνα"), ("546 24", "Θεσσαλονίκη")],
        "streets": ["Ερμού", "Τσιμισκή"],
        "firms": ["Βιβλιοπωλείο Ο Γλάρος", "Τυπογραφείο Παπαδόπουλος Ε.Π.Ε."],
        "people": ["Ελένη Παπαδοπούλου", "Νίκος Γεωργίου"],
        "vat": "EL",
    },
    "Bulgaria": {
        "cities": [("1000", "София"), ("4000", "Пловдив")],
        "streets": ["ул. Граф Игнатиев", "ул. Отец Паисий"],
        "firms": ["Книжарница Жълтата къща", "Печатница Щъркел ООД"],
        "people": ["Йордан Щерев", "Цветелина Жекова"],
        "vat": "BG",
    },
}


def order(dice: random.Random, number: int) -> Order:
    """A correct order."""
    seller = dice.choices(list(CURRENCY), weights=(35, 25, 25, 15))[0]
    country = HOME[seller] if dice.random() < 0.8 else dice.choice(list(PLACES))
    place = PLACES[country]
    postcode, city = dice.choice(place["cities"])
    business = dice.random() < 0.75
    person = dice.choice(place["people"])
    vat_id = place["vat"] + str(dice.randint(10**8, 10**9 - 1)) if business and place["vat"] else ""
    abroad = country != HOME[seller] and bool(vat_id) and seller != "harbour-pine"
    street, house = dice.choice(place["streets"]), dice.randint(1, 180)
    return {
        "order_id": f"ORD-{10_000 + number}",
        "organization": seller,
        "user": f"{dice.choice(USERS[seller])}@{seller}.example",
        "ordered_on": (date(2026, 10, 1) + timedelta(days=number * 31 // COUNT)).isoformat(),
        "customer": dice.choice(place["firms"]) if business else person,
        "contact": person if business else "",
        "email": f"orders-{number}@customer.example",
        "street": f"{house} {street}" if country in ("France", "United Kingdom") else f"{street} {house}",
        "postcode": postcode,
        "city": city,
        "country": country,
        "vat_id": vat_id,
        "currency": CURRENCY[seller],
        "payment_days": dice.choice(["14", "14", "30"]),
        "lines": lines(dice, seller, reverse=abroad),
    }


def lines(dice: random.Random, seller: str, *, reverse: bool) -> list[dict[str, str]]:
    """One to seven lines as a rule; one order in fifty is long enough for a second page."""
    count = dice.randint(18, 34) if dice.random() < 0.02 else dice.randint(1, 7)
    return [line(dice, dice.choice(CATALOGUE[seller]), reverse=reverse) for _ in range(count)]


def line(dice: random.Random, article: Article, *, reverse: bool) -> dict[str, str]:
    sku, text, low, high, tax, whole = article
    cheap = high < 1
    price = f"{dice.uniform(low, high):.{4 if cheap else 2}f}"
    quantity = str(dice.randint(50, 2000) if cheap else dice.randint(1, 12))
    if not whole:
        quantity = f"{dice.randint(2, 40) / 4:g}"
    tax = "reverse-charge" if reverse else tax
    made = {"sku": sku, "text": text, "quantity": quantity, "price": price, "tax": tax}
    if dice.random() < 0.12:
        made["discount"] = dice.choice(["5", "7.5", "10"])
    return made


def _first_line(**changes: str) -> Callable[[Order], None]:
    return lambda order: order["lines"][0].update(changes)


def _fields(**changes: Any) -> Callable[[Order], None]:
    return lambda order: order.update(changes)


# What is wrong with which order.
WRONG: dict[int, Callable[[Order], None]] = {
    23: _fields(customer=""),
    58: _first_line(tax="luxury"),
    91: _first_line(quantity="-2"),
    127: _first_line(price="1O4.50"),  # the letter O
    164: _fields(customer=""),
    199: _first_line(tax="luxury"),
    230: _fields(ordered_on="2026-10-32"),
    268: _first_line(quantity="-12"),
    301: _fields(lines=[]),
    337: _first_line(price="89,90"),
    372: _fields(customer="", street=""),
    405: _fields(currency="USD"),
    441: _first_line(tax="", quantity="0"),
    476: _fields(organization="nordlicht-alt"),
}


def write(path: Path, orders: list[Order]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        for entry in orders:
            writer.writerow(entry | {"lines": json.dumps(entry["lines"], ensure_ascii=False)})


def write_all(folder: Path) -> None:
    good = [order(random.Random(number), number) for number in range(1, COUNT + 1)]
    write(folder / "corrected.csv", [good[number - 1] for number in WRONG])
    for number, spoil in WRONG.items():
        spoil(good[number - 1])
    write(folder / "orders.csv", good)


if __name__ == "__main__":
    write_all(Path(__file__).parent)
