//! Many runs at once, and two commands on the same run: exit codes and logs are right, one command wins, no terminal
//! state is overwritten, and no command hangs.

mod crowd;
mod duel;
