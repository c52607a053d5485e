//! The link service: browse and search what the catalog knows, and give temporary access to single files.
//!
//! It reads the catalog, never the folders, and writes nothing but links and their uses. It never touches an object: it signs URLs by
//! which others may fetch one.
//!
//! - [`portal`] is the service without HTTP: what both the API and the web page call. [`sharing`] has links, [`signing`] URLs.
//! - [`caller`] says who calls, [`tokens`] whom they are, [`limits`] how often they may, [`client`] from where.
//! - [`api`] is the JSON API, [`share`] the links that recipients open, [`server`] the connections, [`run`] the process.
//! - [`web`] is the page for people.
//! - [`refusal`] is everything that can be answered instead.

pub mod api;
pub mod caller;
pub mod client;
pub mod counters;
pub mod cursor;
pub mod disposition;
pub mod limits;
pub mod portal;
pub mod refusal;
pub mod run;
pub mod server;
pub mod share;
pub mod sharing;
pub mod signing;
pub mod token_file;
pub mod tokens;
pub mod web;

pub use caller::Caller;
pub use portal::Portal;
pub use refusal::Refusal;
