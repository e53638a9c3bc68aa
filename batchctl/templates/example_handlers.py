"""What `price-orders` in batchctl.yaml calls for each order."""

from decimal import Decimal, InvalidOperation
from typing import Any


def price(item: Any, context: Any) -> dict[str, str]:
    """The total of one order. What is returned is the item's result; an exception means another try."""
    order = item.payload
    try:
        total = Decimal(order["quantity"]) * Decimal(order["price"])
    except InvalidOperation as error:
        raise ValueError(f"order {item.key}: quantity and price must be numbers") from error
    context.log(f"{order['customer']}: {total}")
    return {"order_id": order["order_id"], "total": f"{total:.2f}"}
