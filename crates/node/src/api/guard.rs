//! Who may talk to the local API.
//!
//! A web page that the user has open can make the browser send requests to any address. Three
//! things keep it out: it does not know the token; it cannot hide its `Origin`; and a name that
//! it has pointed at 127.0.0.1 (DNS rebinding) shows in `Host`.

use super::error::Failure;
use super::token::ApiToken;
use super::types::ErrorCode;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;

/// The port that a URL without one means.
const HTTP_PORT: u16 = 80;

/// What a request must show.
#[derive(Debug)]
pub(super) struct Guard {
    token: ApiToken,
    /// Our names with our port, as `Host` has them.
    authorities: Vec<String>,
}

impl Guard {
    pub(super) fn new(token: ApiToken, address: SocketAddr) -> Self {
        let port = address.port();
        let mut authorities = Vec::new();
        for host in ["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()] {
            authorities.push(format!("{host}:{port}"));
            if port == HTTP_PORT {
                authorities.push(host);
            }
        }
        // Another address of 127.0.0.0/8, if we listen on one.
        authorities.push(address.to_string());
        Self { token, authorities }
    }

    /// Lets a request in, or says why not.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        let host = single(headers, &HOST);
        if !host.is_some_and(|host| self.is_ours(host)) {
            return Err(denied("the Host header does not name this daemon"));
        }
        if headers.contains_key(ORIGIN) {
            let authority = single(headers, &ORIGIN).and_then(|o| o.strip_prefix("http://"));
            if !authority.is_some_and(|authority| self.is_ours(authority)) {
                return Err(denied("web pages of other origins may not use this daemon"));
            }
        }
        let shown = single(headers, &AUTHORIZATION).and_then(bearer);
        if !shown.is_some_and(|token| self.token.matches(token.as_bytes())) {
            return Err(unauthorised());
        }
        Ok(())
    }

    fn is_ours(&self, authority: &str) -> bool {
        self.authorities.iter().any(|ours| ours.eq_ignore_ascii_case(authority))
    }
}

/// The value of a header that is there exactly once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn denied(why: &str) -> Box<Response> {
    let failure = Failure::new(StatusCode::FORBIDDEN, ErrorCode::Denied, why);
    Box::new(failure.into_response())
}

fn unauthorised() -> Box<Response> {
    let why = "the token is missing or wrong: it stands in api.token in the data folder";
    let mut response =
        Failure::new(StatusCode::UNAUTHORIZED, ErrorCode::Denied, why).into_response();
    let scheme = axum::http::HeaderValue::from_static("Bearer");
    response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    Box::new(response)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::home::Home;

    fn guard(address: &str) -> (Guard, String) {
        let temp = tempfile::tempdir().unwrap();
        let token = ApiToken::create(&Home::open(temp.path()).unwrap()).unwrap();
        let authorization = format!("Bearer {}", token.as_str());
        (Guard::new(token, address.parse().unwrap()), authorization)
    }

    fn status(guard: &Guard, headers: &[(HeaderName, &str)]) -> u16 {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        guard.check(&headers).map_or_else(|response| response.status().as_u16(), |()| 200)
    }

    #[test]
    fn our_own_names_are_let_in() {
        let (guard, token) = guard("127.0.0.1:4000");
        for host in ["127.0.0.1:4000", "localhost:4000", "LOCALHOST:4000", "[::1]:4000"] {
            assert_eq!(status(&guard, &[(HOST, host), (AUTHORIZATION, &token)]), 200, "{host}");
            let origin = format!("http://{host}");
            let headers = [(HOST, host), (ORIGIN, &*origin), (AUTHORIZATION, &token)];
            assert_eq!(status(&guard, &headers), 200, "{origin}");
        }
    }

    #[test]
    fn a_name_that_was_pointed_here_is_not_ours() {
        let (guard, token) = guard("127.0.0.1:4000");
        for host in ["evil.example:4000", "localhost", "localhost:4001", "localhost.evil:4000", ""]
        {
            assert_eq!(status(&guard, &[(HOST, host), (AUTHORIZATION, &token)]), 403, "{host}");
        }
        assert_eq!(status(&guard, &[(AUTHORIZATION, &token)]), 403);
    }

    #[test]
    fn a_foreign_web_page_is_kept_out() {
        let (guard, token) = guard("127.0.0.1:4000");
        for origin in
            ["http://evil.example", "https://localhost:4000", "null", "http://localhost:4001"]
        {
            let headers = [(HOST, "localhost:4000"), (ORIGIN, origin), (AUTHORIZATION, &*token)];
            assert_eq!(status(&guard, &headers), 403, "{origin}");
        }
    }

    #[test]
    fn without_the_token_nobody_gets_in() {
        let (guard, token) = guard("127.0.0.1:4000");
        let host = (HOST, "localhost:4000");
        assert_eq!(status(&guard, std::slice::from_ref(&host)), 401);
        for wrong in ["Bearer", "Bearer ", "Bearer wrong", &token[7..], &token[..20]] {
            assert_eq!(status(&guard, &[host.clone(), (AUTHORIZATION, wrong)]), 401, "{wrong}");
        }
        let basic = token.replace("Bearer", "Basic");
        assert_eq!(status(&guard, &[host, (AUTHORIZATION, &basic)]), 401);
    }

    #[test]
    fn port_80_needs_no_port() {
        let (guard, token) = guard("127.0.0.1:80");
        assert_eq!(status(&guard, &[(HOST, "localhost"), (AUTHORIZATION, &token)]), 200);
    }
}
