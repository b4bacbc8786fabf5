//! What the leader has done for ACME, as a command of the log has it.

use serde::{Deserialize, Serialize};

use super::{AcmeFailure, AcmeOrder, AcmeRegistration, Renewal};
use crate::model::{CertificateName, CertificateSpec, Revision};

/// What the leader has done for an account or a certificate. A step that was overtaken by a change of the operators changes
/// nothing: `of` is the revision of the account or the certificate that the leader has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcmeStep {
    /// The authority knows the account.
    Registered {
        /// The revision of the account's settings.
        of: Revision,
        /// What it knows.
        registration: AcmeRegistration,
    },
    /// The account could not be registered.
    NotRegistered {
        /// The revision of the account's settings.
        of: Revision,
        /// Why.
        failure: AcmeFailure,
    },
    /// A certificate was ordered.
    Ordered {
        /// The certificate.
        certificate: CertificateName,
        /// Its revision.
        of: Revision,
        /// The order.
        order: AcmeOrder,
    },
    /// The authority has issued a certificate.
    Issued {
        /// The certificate.
        certificate: CertificateName,
        /// The URL of the order.
        order: String,
        /// What was issued, with the key of the order. Where it comes from is not changed by it.
        spec: Box<CertificateSpec>,
    },
    /// An attempt failed.
    Failed {
        /// The certificate.
        certificate: CertificateName,
        /// Its revision.
        of: Revision,
        /// Why.
        failure: AcmeFailure,
        /// Whether the order that is under way can be gone on with.
        keeps_order: bool,
    },
    /// It is known when a certificate is to be renewed.
    Planned {
        /// The certificate.
        certificate: CertificateName,
        /// Its revision.
        of: Revision,
        /// When.
        renewal: Renewal,
    },
}

impl AcmeStep {
    /// What was done, as a phrase of the history.
    pub fn phrase(&self) -> String {
        match self {
            Self::Registered { .. } => "register the ACME account".to_owned(),
            Self::NotRegistered { .. } => "the ACME account could not be registered".to_owned(),
            Self::Ordered { certificate, .. } => format!("order certificate {certificate}"),
            Self::Issued { certificate, .. } => format!("certificate {certificate} was issued"),
            Self::Failed { certificate, .. } => {
                format!("certificate {certificate} could not be obtained")
            }
            Self::Planned { certificate, .. } => {
                format!("plan the renewal of certificate {certificate}")
            }
        }
    }
}
