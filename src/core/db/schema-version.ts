/** The newest migration in the folder beside this file; a test holds the two together. */
export const LATEST_VERSION = 20;
