"""Every byte that is read or written: paths, schemas, tars, tables, the ledger."""
