-- Asks for one of many paths each time, chosen at random; `wrk ... -- FILE` names a file with one path a line.
dofile("report.lua")

local threads = 0

function setup(thread)
    threads = threads + 1
    thread:set("number", threads)
end

function init(args)
    math.randomseed(number)
    asks = {}
    for path in io.lines(args[1]) do
        asks[#asks + 1] = wrk.format("GET", path)
    end
end

function request()
    return asks[math.random(#asks)]
end
