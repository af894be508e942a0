package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	orderlog "example.com/orderlog-client/generated"
	"github.com/google/uuid"
)

var (
	ctx  = context.Background()
	name = os.Getenv("CLIENT")
	sku  = name + "-beans"
)

// must returns the typed body of a success, or ends the program with what came instead.
func must[T any](body *T, answer interface{ StatusCode() int }, err error) T {
	if err != nil || body == nil {
		log.Fatalf("status %d, %v", answer.StatusCode(), err)
	}
	return *body
}

func once(what string) *string {
	key := name + "-" + what
	return &key
}

func main() {
	authorised := orderlog.WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+os.Getenv("ORDERLOG_KEY"))
		return nil
	})
	client, err := orderlog.NewClientWithResponses(os.Getenv("ORDERLOG_URL"), authorised)
	if err != nil {
		log.Fatal(err)
	}

	created, err := client.CreateCustomerWithResponse(ctx,
		&orderlog.CreateCustomerParams{IdempotencyKey: once("customer")},
		orderlog.CreateCustomer{Name: "Ada", Email: name + "@example.com"})
	customer := must(created.JSON201, created, err)
	received, err := client.ReceiveStockWithResponse(ctx, sku,
		&orderlog.ReceiveStockParams{IdempotencyKey: once("stock")}, orderlog.ReceiveStock{Quantity: 10})
	must(received.JSON200, received, err)

	place := func(customer uuid.UUID, what string) (*orderlog.PlaceOrderResponse, error) {
		return client.PlaceOrderWithResponse(ctx, &orderlog.PlaceOrderParams{IdempotencyKey: once(what)},
			orderlog.PlaceOrder{CustomerId: customer, Currency: orderlog.PlaceOrderCurrencyEUR,
				Lines: []orderlog.OrderLineInput{{Sku: sku, Quantity: 2, UnitPrice: 1890}}})
	}
	answer, err := place(customer.CustomerId, "order")
	placed := must(answer.JSON201, answer, err)
	answer, err = place(customer.CustomerId, "order")
	if must(answer.JSON201, answer, err).OrderId != placed.OrderId {
		log.Fatal("the same key placed a second order")
	}

	get := func() orderlog.Order {
		found, err := client.GetOrderWithResponse(ctx, placed.OrderId, &orderlog.GetOrderParams{})
		return must(found.JSON200, found, err)
	}
	order := get()
	for tries := 0; order.State == orderlog.OrderStatePlaced && tries < 100; tries++ {
		time.Sleep(100 * time.Millisecond)
		order = get()
	}
	confirmed := orderlog.OrderStateConfirmed
	listed, err := client.ListOrdersWithResponse(ctx,
		&orderlog.ListOrdersParams{CustomerId: &customer.CustomerId, State: &confirmed})
	if must(listed.JSON200, listed, err).Items[0].OrderId != order.OrderId {
		log.Fatal("the list has another order")
	}
	looked, err := client.GetStockWithResponse(ctx, sku, &orderlog.GetStockParams{})
	stock := must(looked.JSON200, looked, err)

	refused, err := place(order.OrderId, "refused")
	problem := must(refused.ApplicationproblemJSON404, refused, err)
	fmt.Printf("order %s is %s, %d of %d are available, refused: %s\n",
		order.OrderId, order.State, stock.Available, stock.OnHand, problem.Code)
}
