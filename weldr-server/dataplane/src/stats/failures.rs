//! The reasons why requests failed.

use super::Counter;

/// Why a request failed. The names are the error types of RFC 9209, section 2.3, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names are documented by RFC 9209")]
pub enum FailureReason {
    /// The client closed its connection before the response was complete.
    ClientClosed,
    /// The client did not send its request, or did not take the response, in time.
    ClientTimeout,
    HttpRequestError,
    HttpRequestDenied,
    DestinationUnavailable,
    DestinationIpUnroutable,
    ConnectionLimitReached,
    ConnectionRefused,
    ConnectionTerminated,
    ConnectionTimeout,
    ConnectionReadTimeout,
    ConnectionWriteTimeout,
    HttpProtocolError,
    HttpResponseHeaderSectionSize,
    HttpResponseIncomplete,
    HttpResponseTimeout,
    HttpUpgradeFailed,
    ProxyLoopDetected,
    TlsProtocolError,
    TlsCertificateError,
    TlsAlertReceived,
}

impl FailureReason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 21] = [
        Self::ClientClosed,
        Self::ClientTimeout,
        Self::HttpRequestError,
        Self::HttpRequestDenied,
        Self::DestinationUnavailable,
        Self::DestinationIpUnroutable,
        Self::ConnectionLimitReached,
        Self::ConnectionRefused,
        Self::ConnectionTerminated,
        Self::ConnectionTimeout,
        Self::ConnectionReadTimeout,
        Self::ConnectionWriteTimeout,
        Self::HttpProtocolError,
        Self::HttpResponseHeaderSectionSize,
        Self::HttpResponseIncomplete,
        Self::HttpResponseTimeout,
        Self::HttpUpgradeFailed,
        Self::ProxyLoopDetected,
        Self::TlsProtocolError,
        Self::TlsCertificateError,
        Self::TlsAlertReceived,
    ];

    /// The name in the access log and in the statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::ClientTimeout => "client_timeout",
            other => other.proxy_error(),
        }
    }

    /// The error type of RFC 9209 that a client reads in `Proxy-Status`.
    pub const fn proxy_error(self) -> &'static str {
        match self {
            Self::ClientClosed | Self::ClientTimeout | Self::HttpRequestError => {
                "http_request_error"
            }
            Self::HttpRequestDenied => "http_request_denied",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionReadTimeout => "connection_read_timeout",
            Self::ConnectionWriteTimeout => "connection_write_timeout",
            Self::HttpProtocolError => "http_protocol_error",
            Self::HttpResponseHeaderSectionSize => "http_response_header_section_size",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::HttpUpgradeFailed => "http_upgrade_failed",
            Self::ProxyLoopDetected => "proxy_loop_detected",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::TlsAlertReceived => "tls_alert_received",
        }
    }
}

/// How many requests failed, by reason.
#[derive(Debug, Default)]
pub struct Failures([Counter; FailureReason::ALL.len()]);

/// The sums of [`Failures`], in the order of [`FailureReason::ALL`].
pub type FailureTotals = [u64; FailureReason::ALL.len()];

impl Failures {
    /// Counts a request that failed for `reason`.
    pub fn record(&self, reason: FailureReason) {
        self.0[reason as usize].add(1);
    }

    /// The counts, in the order of [`FailureReason::ALL`].
    pub fn get(&self) -> FailureTotals {
        std::array::from_fn(|index| self.0[index].get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_name_and_a_counter_of_its_own() {
        let failures = Failures::default();
        for (index, reason) in FailureReason::ALL.into_iter().enumerate() {
            failures.record(reason);
            assert_eq!(failures.get()[index], 1, "{reason:?}");
        }
        let mut names: Vec<_> = FailureReason::ALL.map(FailureReason::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FailureReason::ALL.len());
    }
}
