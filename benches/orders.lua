-- For wrk: place orders. ORDER is the body of a POST /orders.
wrk.method = "POST"
wrk.body = os.getenv("ORDER")
wrk.headers["Content-Type"] = "application/json"

function done(summary, latency)
  local errors = summary.errors
  local n_failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("orders/s %.0f, p50 %.2f ms, p99 %.2f ms, not placed %d\n",
    (summary.requests - n_failed) / (summary.duration / 1e6),
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, n_failed))
end
