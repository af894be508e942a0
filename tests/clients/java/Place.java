import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.CustomersApi;
import org.openapitools.client.api.InventoryApi;
import org.openapitools.client.api.OrdersApi;
import org.openapitools.client.model.*;

class Place {
    static final Map<String, String> ENV = System.getenv();
    static final String NAME = ENV.get("CLIENT");
    static final String SKU = NAME + "-beans";
    static final ApiClient CLIENT = new ApiClient()
            .setBasePath(ENV.get("ORDERLOG_URL"))
            .addDefaultHeader("Authorization", "Bearer " + ENV.get("ORDERLOG_KEY"));
    static final OrdersApi ORDERS = new OrdersApi(CLIENT);
    static final InventoryApi INVENTORY = new InventoryApi(CLIENT);

    static PlacedOrder place(UUID customer, String what) throws ApiException {
        OrderLineInput line = new OrderLineInput().sku(SKU).quantity(2L).unitPrice(1890L);
        PlaceOrder order = new PlaceOrder().customerId(customer).currency(PlaceOrder.CurrencyEnum.EUR).lines(List.of(line));
        return ORDERS.placeOrder(order, NAME + "-" + what, null, null, null);
    }

    static Order get(UUID order) throws ApiException {
        return ORDERS.getOrder(order, null, null, null, null, null);
    }

    static String refusal(UUID unknown) throws IOException {
        try {
            throw new IllegalStateException("placed: " + place(unknown, "refused"));
        } catch (ApiException refused) {
            return Problem.fromJson(refused.getResponseBody()).getCode();
        }
    }

    public static void main(String[] arguments) throws Exception {
        CreateCustomer ada = new CreateCustomer().name("Ada").email(NAME + "@example.com");
        UUID customer = new CustomersApi(CLIENT).createCustomer(ada, NAME + "-customer", null, null, null).getCustomerId();
        INVENTORY.receiveStock(SKU, new ReceiveStock().quantity(10L), NAME + "-stock", null, null, null, null);

        PlacedOrder placed = place(customer, "order");
        if (!place(customer, "order").getOrderId().equals(placed.getOrderId())) {
            throw new IllegalStateException("the same key placed a second order");
        }
        Order order = get(placed.getOrderId());
        for (int tries = 0; order.getState() == OrderState.PLACED && tries < 100; tries++) {
            Thread.sleep(100);
            order = get(placed.getOrderId());
        }
        OrderList list = ORDERS.listOrders(customer, OrderState.CONFIRMED, null, null, null, null, null, null, null, null);
        if (!list.getItems().get(0).getOrderId().equals(order.getOrderId())) {
            throw new IllegalStateException("the list has another order");
        }
        Stock stock = INVENTORY.getStock(SKU, null, null, null, null);
        System.out.printf("order %s is %s, %d of %d are available, refused: %s%n", order.getOrderId(), order.getState(),
                stock.getAvailable(), stock.getOnHand(), refusal(order.getOrderId()));
    }
}
