"""Tables, transactions, migrations, pagination and the lock that ties a process to its database."""
