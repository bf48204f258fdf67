/**
 * The programs that run in processes of their own, so that neither the measuring nor the peer disturbs
 * what is measured: their names, and the messages between them and the benchmark. Loads none of them.
 */
export const PROGRAMS = {
  'our-executor': () => import('./programs/our-executor.ts'),
  'our-queue': () => import('./programs/our-queue.ts'),
  'our-ledger': () => import('./programs/our-ledger.ts'),
  'our-accept': () => import('./programs/our-accept.ts'),
  'our-reconcile': () => import('./programs/our-reconcile.ts'),
  'peer-reconcile': () => import('./programs/peer-reconcile.ts'),
  daemon: () => import('./programs/daemon.ts'),
  sandbox: () => import('./programs/sandbox.ts'),
  'peer-executor': () => import('./programs/peer-executor.ts'),
  'peer-queue': () => import('./programs/peer-queue.ts'),
} as const;

export type ProgramName = keyof typeof PROGRAMS;
type ModuleOf<Name extends ProgramName> = Awaited<ReturnType<(typeof PROGRAMS)[Name]>>;
export type InputOf<Name extends ProgramName> = Parameters<ModuleOf<Name>['run']>[0];
export type OutputOf<Name extends ProgramName> = Awaited<ReturnType<ModuleOf<Name>['run']>>;

/** What a program may do with its parent while it runs. */
export type ProgramHost = {
  tell(message: ProgramMessage): void;
  /** Resolves when the parent asks for the end. */
  readonly stopped: Promise<void>;
};

export type ProgramOrder =
  | { readonly kind: 'run'; readonly program: ProgramName; readonly input: unknown }
  | { readonly kind: 'stop' };

export type ProgramMessage =
  | { readonly kind: 'ready'; readonly url: string | null }
  /** A request has come in at the sandbox; nanoseconds of the clock that all processes of a machine share. */
  | { readonly kind: 'call'; readonly key: string; readonly atNs: bigint }
  | { readonly kind: 'result'; readonly result: unknown }
  | { readonly kind: 'failed'; readonly reason: string };
