import createClient from "openapi-fetch";

import type { components, paths } from "./generated/orderlog.js";

const { ORDERLOG_URL = "", ORDERLOG_KEY = "", CLIENT = "" } = process.env;
const client = createClient<paths>({ baseUrl: ORDERLOG_URL, headers: { Authorization: `Bearer ${ORDERLOG_KEY}` } });

type Problem = components["schemas"]["Problem"];

function must<T>({ data, error }: { data?: T; error?: Problem }): T {
  if (data === undefined) throw new Error(error?.code ?? "no answer");
  return data;
}

const once = (what: string) => ({ "Idempotency-Key": `${CLIENT}-${what}` });
const sku = `${CLIENT}-beans`;

const customer = must(
  await client.POST("/customers", {
    params: { header: once("customer") },
    body: { name: "Ada", email: `${CLIENT}@example.com` },
  }),
);
await client.POST("/stock/{sku}/receive", { params: { path: { sku }, header: once("stock") }, body: { quantity: 10 } });

const place = (customer_id: string, what: string) =>
  client.POST("/orders", {
    params: { header: once(what) },
    body: { customer_id, currency: "EUR", lines: [{ sku, quantity: 2, unit_price: 1890 }] },
  });
const placed = must(await place(customer.customer_id, "order"));
const repeated = must(await place(customer.customer_id, "order"));
if (repeated.order_id !== placed.order_id) throw new Error("the same key placed a second order");

const path = { order_id: placed.order_id };
let order = must(await client.GET("/orders/{order_id}", { params: { path } }));
for (let tries = 0; order.state === "placed" && tries < 100; tries++) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  order = must(await client.GET("/orders/{order_id}", { params: { path } }));
}
const query = { customer_id: customer.customer_id, state: "confirmed" } as const;
const { items } = must(await client.GET("/orders", { params: { query } }));
if (items[0]?.order_id !== order.order_id) throw new Error("the list has another order");
const stock = must(await client.GET("/stock/{sku}", { params: { path: { sku } } }));

const { error, response } = await place(order.order_id, "refused");
if (response.status !== 404 || error === undefined) throw new Error(`${response.status} instead of a refusal`);
console.log(
  `order ${order.order_id} is ${order.state}, ${stock.available} of ${stock.on_hand} are available, refused: ${error.code}`,
);
