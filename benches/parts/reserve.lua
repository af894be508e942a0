-- For wrk: reserve one unit of the one hot SKU, each time under a name of its own.
local n_threads = 0
function setup(thread)
  n_threads = n_threads + 1
  thread:set("name", os.getenv("RUN") .. "-" .. n_threads)
end
local n = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
  n = n + 1
  local id = '{"reservation_id": "' .. name .. "-" .. n .. '", "lines": [{"sku": "sku-0", "quantity": 1}]}'
  return wrk.format(nil, nil, nil, id)
end
