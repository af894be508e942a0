-- For wrk: place orders of one line each, of so many SKUs in turn. CUSTOMER and SKUS say whose, and how many.
local bodies = {}
for i = 0, tonumber(os.getenv("SKUS")) - 1 do
  local line = string.format('{"sku": "sku-%d", "quantity": 2, "unit_price": 1890}', i)
  bodies[i] = '{"customer_id": "' .. os.getenv("CUSTOMER") .. '", "currency": "EUR", "lines": [' .. line .. "]}"
end
local n, n_made = #bodies + 1, 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
  n_made = n_made + 1
  return wrk.format(nil, nil, nil, bodies[n_made % n])
end
