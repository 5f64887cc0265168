"""What every room stands on: transactions, wake-ups, access, errors on HTTP, paging, blobs."""
