//! The front ends for programs and what they report: D-Bus, Varlink, alerts, journal.

pub mod alerts;
mod bus;
mod compromised_service;
mod health;
mod job_signals;
mod journal;
mod varlink;
