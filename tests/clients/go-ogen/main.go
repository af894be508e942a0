package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	orderlog "example.com/orderlog-client/generated"
	"github.com/google/uuid"
	"github.com/ogen-go/ogen/ogenerrors"
)

var (
	ctx  = context.Background()
	name = os.Getenv("CLIENT")
	sku  = name + "-beans"
)

// credentials are an API key; there is no token of an issuer.
type credentials struct{}

func (credentials) Key(context.Context, orderlog.OperationName) (orderlog.Key, error) {
	return orderlog.Key{Token: os.Getenv("ORDERLOG_KEY")}, nil
}

func (credentials) Token(context.Context, orderlog.OperationName) (orderlog.Token, error) {
	return orderlog.Token{}, ogenerrors.ErrSkipClientSecurity
}

// must returns an answer as the type of a success, or ends the program with what came instead.
func must[T any](answer any, err error) T {
	success, is := answer.(T)
	if err != nil || !is {
		log.Fatalf("%+v, %v", answer, err)
	}
	return success
}

func once(what string) orderlog.OptString {
	return orderlog.NewOptString(name + "-" + what)
}

func main() {
	client, err := orderlog.NewClient(os.Getenv("ORDERLOG_URL"), credentials{})
	if err != nil {
		log.Fatal(err)
	}

	created, err := client.CreateCustomer(ctx, &orderlog.CreateCustomer{Name: "Ada", Email: name + "@example.com"},
		orderlog.CreateCustomerParams{IdempotencyKey: once("customer")})
	customer := must[*orderlog.CustomerChangedHeaders](created, err).Response
	received, err := client.ReceiveStock(ctx, &orderlog.ReceiveStock{Quantity: 10},
		orderlog.ReceiveStockParams{Sku: sku, IdempotencyKey: once("stock")})
	must[*orderlog.StockChangedHeaders](received, err)

	place := func(customer uuid.UUID, what string) (orderlog.PlaceOrderRes, error) {
		return client.PlaceOrder(ctx, &orderlog.PlaceOrder{CustomerID: customer, Currency: orderlog.PlaceOrderCurrencyEUR,
			Lines: []orderlog.OrderLineInput{{Sku: sku, Quantity: 2, UnitPrice: 1890}}},
			orderlog.PlaceOrderParams{IdempotencyKey: once(what)})
	}
	answer, err := place(customer.CustomerID, "order")
	placed := must[*orderlog.PlacedOrderHeaders](answer, err).Response
	answer, err = place(customer.CustomerID, "order")
	if must[*orderlog.PlacedOrderHeaders](answer, err).Response.OrderID != placed.OrderID {
		log.Fatal("the same key placed a second order")
	}

	get := func() orderlog.Order {
		found, err := client.GetOrder(ctx, orderlog.GetOrderParams{OrderID: placed.OrderID})
		return must[*orderlog.OrderHeaders](found, err).Response
	}
	order := get()
	for tries := 0; order.State == orderlog.OrderStatePlaced && tries < 100; tries++ {
		time.Sleep(100 * time.Millisecond)
		order = get()
	}
	listed, err := client.ListOrders(ctx, orderlog.ListOrdersParams{
		CustomerID: orderlog.NewOptUUID(customer.CustomerID),
		State:      orderlog.NewOptOrderState(orderlog.OrderStateConfirmed)})
	if must[*orderlog.OrderListHeaders](listed, err).Response.Items[0].OrderID != order.OrderID {
		log.Fatal("the list has another order")
	}
	looked, err := client.GetStock(ctx, orderlog.GetStockParams{Sku: sku})
	stock := must[*orderlog.StockHeaders](looked, err).Response

	refused, err := place(order.OrderID, "refused")
	problem := must[*orderlog.PlaceOrderNotFound](refused, err)
	fmt.Printf("order %s is %s, %d of %d are available, refused: %s\n",
		order.OrderID, order.State, stock.Available, stock.OnHand, problem.Code)
}
