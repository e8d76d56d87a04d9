//! Reasons for which a caller is refused.

/// Reason why a caller is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("authentication failed: {0}")]
    Unauthenticated(&'static str),
    #[error("{0}")]
    Forbidden(String),
    /// Too many requests of this caller or of its address.
    #[error("{0}: try again in some seconds")]
    Busy(&'static str),
    /// The API server is unavailable, so the caller cannot be authenticated.
    #[error("the API server cannot authenticate or authorize the caller: {0}")]
    Unknown(String),
}

impl Refused {
    /// Refusal of an invalid token.
    pub(crate) const BAD_TOKEN: Self =
        Self::Unauthenticated("the token is invalid, or not for the audience tracejob.dev");
}
