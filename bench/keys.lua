-- wrk's requests: GET /v3/me, each with a key drawn at random from the file that KEYS names. FIGURES
-- names the script that prints the outcome.

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

dofile(os.getenv("FIGURES"))
