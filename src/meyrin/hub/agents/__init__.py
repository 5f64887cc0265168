"""What agents call: hello, leases, reports, output."""
