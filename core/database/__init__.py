"""Tables, transactions, migrations, pagination, and the lock that a process holds on its database."""
