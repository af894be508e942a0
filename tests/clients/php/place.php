<?php

declare(strict_types=1);

use OpenAPI\Client\Api\{CustomersApi, InventoryApi, OrdersApi};
use OpenAPI\Client\{ApiException, Configuration};
use OpenAPI\Client\Model\{CreateCustomer, Order, OrderLineInput, OrderState, PlacedOrder, PlaceOrder, Problem, ReceiveStock};

require '/usr/share/php/GuzzleHttp/autoload.php';
spl_autoload_register(function (string $class): void {
    $file = __DIR__ . '/generated/lib/' . strtr(substr($class, strlen('OpenAPI\\Client\\')), '\\', '/') . '.php';
    if (str_starts_with($class, 'OpenAPI\\Client\\') && is_file($file)) {
        require $file;
    }
});
// A warning or a notice is an error here.
set_error_handler(fn (int $_, string $message, string $file, int $line) => throw new ErrorException($message, 0, 1, $file, $line));

$name = getenv('CLIENT');
$sku = "$name-beans";
$config = (new Configuration())->setHost(getenv('ORDERLOG_URL'))->setAccessToken(getenv('ORDERLOG_KEY'));
$orders = new OrdersApi(config: $config);
$inventory = new InventoryApi(config: $config);

$place = function (string $customer, string $what) use ($orders, $name, $sku): PlacedOrder {
    $line = new OrderLineInput(['sku' => $sku, 'quantity' => 2, 'unit_price' => 1890]);
    $order = new PlaceOrder(['customer_id' => $customer, 'currency' => PlaceOrder::CURRENCY_EUR, 'lines' => [$line]]);
    return $orders->placeOrder($order, "$name-$what");
};
$get = fn (string $id): Order => $orders->getOrder($id);

$ada = new CreateCustomer(['name' => 'Ada', 'email' => "$name@example.com"]);
$customer = (new CustomersApi(config: $config))->createCustomer($ada, "$name-customer")->getCustomerId();
$inventory->receiveStock($sku, new ReceiveStock(['quantity' => 10]), "$name-stock");

$placed = $place($customer, 'order')->getOrderId();
if ($place($customer, 'order')->getOrderId() !== $placed) {
    throw new Exception('the same key placed a second order');
}
$order = $get($placed);
for ($tries = 0; $order->getState() === OrderState::PLACED && $tries < 100; $tries++) {
    usleep(100_000);
    $order = $get($placed);
}
$list = $orders->listOrders(customer_id: $customer, state: OrderState::CONFIRMED);
if ($list->getItems()[0]->getOrderId() !== $placed) {
    throw new Exception('the list has another order');
}
$stock = $inventory->getStock($sku);

try {
    throw new Exception('placed: ' . $place($placed, 'refused'));
} catch (ApiException $refused) {
    $problem = $refused->getResponseObject();
    assert($problem instanceof Problem);
}
printf(
    "order %s is %s, %d of %d are available, refused: %s\n",
    $placed,
    $order->getState(),
    $stock->getAvailable(),
    $stock->getOnHand(),
    $problem->getCode(),
);
