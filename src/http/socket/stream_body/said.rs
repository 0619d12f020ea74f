//! What a client says over its WebSocket, and what comes of it.

use actix_http::ws::OpCode;
use serde::Deserialize;
use serde_json::Value;

use super::StreamBody;
use crate::http::socket::frames;
use crate::http::socket::messages::{Fault, Incoming, close_code};
use crate::http::socket::notice::Notice;
use crate::http::socket::stream::filter;
use crate::http::socket::wanted::Unwanted;
use crate::model::wire::BodyForm;

/// What a client may say over its WebSocket.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    /// Change what is sent from now on.
    Subscribe {
        #[serde(default)]
        endpoint: Vec<String>,
        #[serde(default)]
        method: Vec<String>,
        body: Option<String>,
        r#match: Option<Value>,
    },
}

impl StreamBody {
    pub(super) async fn receive(&mut self, received: Result<Incoming, Fault>) {
        match received {
            Ok(Incoming::Message(OpCode::Text, text)) => self.obey(&text.bytes).await,
            Ok(Incoming::Ping(payload)) => self.put_first([frames::frame(OpCode::Pong, &payload)], false),
            Ok(Incoming::Pong) => {}
            ending => {
                // What is held is not sent any more.
                self.queue.clear();
                self.end_as_asked(ending);
            }
        }
    }

    fn end_as_asked(&mut self, received: Result<Incoming, Fault>) {
        match received {
            Ok(Incoming::Close(Some((code, _)))) => self.close(code, ""),
            Ok(Incoming::Close(None)) => {
                self.push(frames::close(None));
                self.ended = true;
            }
            Ok(_) => self.close(close_code::UNSUPPORTED, "only text is understood"),
            Err(Fault::Broken(code, reason)) => self.close(code, reason),
            Err(Fault::NoRoom) => self.close(close_code::TRY_AGAIN, "there is no room for the message"),
            Err(Fault::Gone) => self.ended = true,
        }
    }

    async fn obey(&mut self, text: &[u8]) {
        let changed = match serde_json::from_slice(text) {
            Ok(Request::Subscribe { endpoint, method, body, r#match }) => {
                let form = body.as_deref().map_or(Some(self.subscriber.form()), BodyForm::parse);
                let wanted = self.reader.wanted.changed(r#match).await;
                match (filter(&endpoint, &method, self.reader.leave.identity()), form, wanted) {
                    (Ok(filter), Some(form), Ok(wanted)) => {
                        self.give_back();
                        self.subscriber.change(filter, form);
                        self.reader.wanted = wanted;
                        Ok(())
                    }
                    (Err(problem), ..) => Err(problem.to_string()),
                    (_, None, _) => Err("`body`: `full`, `preview` or `none` is expected".to_owned()),
                    (.., Err(Unwanted::Invalid(why))) => Err(why.within("match").to_string()),
                    (.., Err(Unwanted::NoRoom(problem))) => Err(problem.to_string()),
                }
            }
            Err(error) => Err(error.to_string()),
        };
        let cursor = self.cursor();
        self.say(&match changed {
            Ok(()) => Notice::Subscribed { cursor },
            Err(detail) => Notice::Error { detail },
        });
    }

    pub(super) fn close(&mut self, code: u16, reason: &str) {
        self.push(frames::close(Some((code, reason))));
        self.ended = true;
    }
}
