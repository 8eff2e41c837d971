"""Tables, transactions, migrations, pagination and the ownership of a database by its processes."""
