//! `/metrics`, `/health` and `/ready`, on their own listener.
