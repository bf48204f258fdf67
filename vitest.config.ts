import { defineConfig } from 'vitest/config';

/** Two kinds of test: `unit` needs nothing, `db` gets one real Postgres cluster for the run. */
export default defineConfig({
  test: {
    maxWorkers: 3,
    reporters: ['default', './src/testing/counts-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'src/**/*.test.tsx'],
          exclude: ['src/**/*.db.test.ts'],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'db',
          include: ['src/**/*.db.test.ts'],
          globalSetup: ['src/testing/cluster.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
