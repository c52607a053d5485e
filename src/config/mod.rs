//! The configuration, in three stages: fragments as they are read, one merged tree, validated [`settings`].

pub mod settings;
