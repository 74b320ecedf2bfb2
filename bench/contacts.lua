-- wrk's writes: POST /v3/contacts, each with a number of its own. Prints one line of figures that run.py
-- reads. KEY is the key, PREFIX sets the numbers of one run apart from those of another.

local number = 0
local first = tonumber(os.getenv("PREFIX")) * 1000000

function init(_)
  wrk.headers["x-api-key"] = os.getenv("KEY")
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Host"] = "bench"
end

function request()
  number = number + 1
  return wrk.format("POST", "/v3/contacts", nil, string.format('{"phone_number":"+49151%08d"}', first + number))
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format("figures %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
