-- wrk's writes: POST /v3/contacts, each with a number of its own. FIGURES names the script that
-- prints the outcome, KEY is the key, PREFIX sets the numbers of one run apart from those of another.

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

dofile(os.getenv("FIGURES"))
