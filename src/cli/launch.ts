/** What a command hands over to be run, and to whom. Types only. */
import type { Session } from './session.ts';

/** What a command does once its flags are read; returns the exit code. */
export type Work = (session: Session) => Promise<number>;

/** Runs a command's work with the global options; what every action ends in. */
export type Launch = (work: Work) => Promise<void>;
