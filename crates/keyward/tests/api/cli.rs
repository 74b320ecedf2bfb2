//! The command line as people use it: the real program, beside a real server.
