-- What wrk found, as a line of JSON. Put behind the script that makes the requests.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\n{"n": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "n_failed": %d}\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
