"""What every room stands on: transactions, wake-ups, who may call, errors on HTTP, paging, blobs."""
