-- What a run of wrk saw, as one line of JSON after wrk's own report.
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        'bench {"requests": %d, "bytes": %d, "seconds": %.6f, "connect": %d, "read": %d, "write": %d, "status": %d, '
            .. '"timeout": %d, "p50_us": %d, "p99_us": %d, "max_us": %d}\n',
        summary.requests, summary.bytes, summary.duration / 1e6, errors.connect, errors.read, errors.write,
        errors.status, errors.timeout, latency:percentile(50), latency:percentile(99), latency.max))
end
