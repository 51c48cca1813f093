//! Many at once, and two at the same thing: all right codes and logs, one winner, no terminal state
//! ever overwritten, nobody hangs.

mod crowd;
mod duel;
