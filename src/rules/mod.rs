//! Rules: which request is answered how. Pure: they read neither database nor clock, and wait for nobody.

pub mod template;
