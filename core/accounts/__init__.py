"""Users, sessions, API tokens and the audit log: who a person is and what they did."""
