import os
import time
from typing import TypeVar
from uuid import UUID

from orderlog_client import AuthenticatedClient
from orderlog_client.api.customers import create_customer
from orderlog_client.api.inventory import get_stock, receive_stock
from orderlog_client.api.orders import get_order, list_orders, place_order
from orderlog_client.models import (
    CreateCustomer,
    CustomerChanged,
    Order,
    OrderLineInput,
    OrderList,
    OrderState,
    PlacedOrder,
    PlaceOrder,
    PlaceOrderCurrency,
    Problem,
    ReceiveStock,
    Stock,
    StockChanged,
)

NAME = os.environ["CLIENT"]
SKU = f"{NAME}-beans"
client = AuthenticatedClient(base_url=os.environ["ORDERLOG_URL"], token=os.environ["ORDERLOG_KEY"])

T = TypeVar("T")


def must(kind: type[T], answer: object) -> T:
    if not isinstance(answer, kind):
        raise SystemExit(f"{answer} instead of {kind.__name__}")
    return answer


def place(customer_id: UUID, what: str) -> object:
    line = OrderLineInput(sku=SKU, quantity=2, unit_price=1890)
    body = PlaceOrder(customer_id=customer_id, currency=PlaceOrderCurrency.EUR, lines=[line])
    return place_order.sync(client=client, body=body, idempotency_key=f"{NAME}-{what}")


new_customer = CreateCustomer(name="Ada", email=f"{NAME}@example.com")
customer = must(CustomerChanged, create_customer.sync(client=client, body=new_customer, idempotency_key=f"{NAME}-customer"))
received = receive_stock.sync(SKU, client=client, body=ReceiveStock(quantity=10), idempotency_key=f"{NAME}-stock")
must(StockChanged, received)

placed = must(PlacedOrder, place(customer.customer_id, "order"))
repeated = must(PlacedOrder, place(customer.customer_id, "order"))
assert repeated.order_id == placed.order_id, "the same key placed a second order"

order = must(Order, get_order.sync(placed.order_id, client=client))
deadline = time.monotonic() + 10
while order.state == OrderState.PLACED and time.monotonic() < deadline:
    time.sleep(0.1)
    order = must(Order, get_order.sync(placed.order_id, client=client))
found = list_orders.sync(client=client, customer_id=customer.customer_id, state=OrderState.CONFIRMED)
assert must(OrderList, found).items[0].order_id == order.order_id, "the list has another order"
stock = must(Stock, get_stock.sync(SKU, client=client))

problem = must(Problem, place(order.order_id, "refused"))
print(
    f"order {order.order_id} is {order.state}, {stock.available} of {stock.on_hand} are available, refused: {problem.code}"
)
