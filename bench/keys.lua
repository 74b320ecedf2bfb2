-- wrk's requests: GET /v3/me, each with a key drawn at random from the file that KEYS names. Prints one
-- line of figures that run.py reads.

local requests = {}

function init(_)
  math.randomseed(tonumber(os.getenv("SEED") or "1"))
  for key in io.lines(os.getenv("KEYS")) do
    requests[#requests + 1] = wrk.format("GET", "/v3/me", { ["x-api-key"] = key, ["Host"] = "bench" })
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format("figures %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
