//! The Amigo tool API in memory, for the demo and the tests.
