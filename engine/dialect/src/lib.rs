//! The endpoints that a run can talk to: how their bodies are built, how their answers are read.
//!
//! One table, [`ENDPOINTS`], says what each kind is; one file per dialect has its body and its
//! reading. Bodies are control plane. Reading is pure functions over JSON values, for the analysis
//! side and for the history of a conversation; the cores ask for no more than a [`Scan`].
//!
//! ```
//! use pinfire_dialect::{Answers, EndpointKind, answer::{Piece, Reader}};
//!
//! let kind = EndpointKind::from_name("messages").unwrap();
//! assert_eq!(kind.row().default_path(true), "/v1/messages");
//!
//! let answers = Answers::of(kind);
//! let event = br#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}"#;
//! let mut text = String::new();
//! Reader::new(&answers).read(event, false, &mut |piece| {
//!     if let Piece::Text(part) = piece {
//!         text.push_str(part);
//!     }
//! });
//! assert_eq!(text, "Hi");
//! ```
//!
//! [`Scan`]: pinfire_proto::Scan

pub mod answer;
pub mod ask;
mod assistant_turn;
pub mod body;
mod chat;
mod completions;
mod detect;
mod dialects;
mod embeddings;
pub mod extra;
mod generate;
mod kind;
mod lenient;
mod messages;
mod rankings;
mod response_field;
mod responses;
mod template;
mod usage;
mod usual;

pub use answer::Answers;
pub use body::{Body, BodyError, BodyOptions, BodyRef, Notes, output_limit};
pub use dialects::append_turn;
pub use kind::{ENDPOINTS, Endpoint, EndpointKind, UnknownEndpoint};
pub use response_field::{FieldError, ResponseField};
pub use template::{RESPONSE_FIELD, Render, TEMPLATE};
pub use usage::Usage;
