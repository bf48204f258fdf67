/**
 * Does one planned kill: waits until the part to be killed has orders in flight, kills or starves it, and brings
 * it back. A kill that met nothing in flight is done all the same and does not count.
 */
import { inFlightOf, lookUntil } from './census.ts';
import type { Daemon } from './daemons.ts';
import type { Eyes } from './database.ts';
import type { KillPlan } from './plan.ts';
import { pause } from './processes.ts';
import type { World } from './world.ts';

/** Longest wait for something in flight (ms). */
const IN_FLIGHT_LIMIT_MS = 15_000;
/** Longest wait for a daemon that nobody else is killing (ms). */
const FREE_DAEMON_LIMIT_MS = 60_000;

export type Killed = KillPlan & {
  /** Orders claimed and not yet recorded by the killed daemon, or by all for a part that all depend on. */
  readonly inFlight: number;
  /** `done` resolves when the part is back; only a stopped daemon takes its time while the run goes on. */
  readonly done: Promise<void>;
  readonly note: string | null;
};

export async function killPart(world: World, eyes: Eyes, plan: KillPlan): Promise<Killed> {
  switch (plan.kind) {
    case 'daemon_kill':
    case 'daemon_stop':
    case 'daemon_term':
      return killDaemon(world, eyes, plan);
    case 'sandbox_kill':
    case 'sandbox_away':
      return killSandbox(world, eyes, plan);
    case 'postgres_kill':
    case 'postgres_immediate':
    case 'postgres_away':
      return killPostgres(world, eyes, plan);
  }
}

async function killDaemon(world: World, eyes: Eyes, plan: KillPlan): Promise<Killed> {
  const { daemon, inFlight } = await chooseDaemon(world, eyes, plan.choice);
  daemon.state = 'busy';
  const free = (): void => {
    daemon.state = 'running';
  };
  if (plan.kind === 'daemon_stop') {
    daemon.stop();
    const done = pause(plan.downMs).then(() => {
      daemon.go();
      free();
    });
    return { ...plan, inFlight, done, note: null };
  }
  let note: string | null = null;
  if (plan.kind === 'daemon_term') {
    if ((await daemon.terminate()) === 'unclean')
      note = `daemon ${daemon.place} did not end well after SIGTERM`;
  } else await daemon.kill();
  await pause(plan.downMs);
  await daemon.start();
  free();
  return { ...plan, inFlight, done: Promise.resolve(), note };
}

/** The chosen daemon if it has something in flight, else the next one that has. */
async function chooseDaemon(
  world: World,
  eyes: Eyes,
  choice: number,
): Promise<{ daemon: Daemon; inFlight: number }> {
  const deadline = performance.now() + FREE_DAEMON_LIMIT_MS;
  const free = (): readonly Daemon[] => world.daemons.filter((daemon) => daemon.state === 'running');
  while (free().length === 0) {
    if (performance.now() > deadline) throw new Error('every daemon stays busy with an earlier kill');
    await pause(100);
  }
  const census = await lookUntil(
    eyes,
    (seen) => free().some((d) => inFlightOf(seen, [d.pid()]) > 0),
    IN_FLIGHT_LIMIT_MS,
  );
  const candidates = free();
  const first = Math.floor(choice * candidates.length);
  const inOrder = [...candidates.slice(first), ...candidates.slice(0, first)];
  if (census === null) return { daemon: inOrder[0]!, inFlight: 0 };
  const daemon = inOrder.find((one) => inFlightOf(census, [one.pid()]) > 0) ?? inOrder[0]!;
  return { daemon, inFlight: inFlightOf(census, [daemon.pid()]) };
}

/** What all running daemons have in flight, as soon as it is something. */
async function waitForAny(world: World, eyes: Eyes): Promise<number> {
  const pids = () =>
    world.daemons.filter((daemon) => daemon.state === 'running').map((daemon) => daemon.pid());
  const census = await lookUntil(eyes, (seen) => inFlightOf(seen, pids()) > 0, IN_FLIGHT_LIMIT_MS);
  return census === null ? 0 : inFlightOf(census, pids());
}

async function killSandbox(world: World, eyes: Eyes, plan: KillPlan): Promise<Killed> {
  const inFlight = await waitForAny(world, eyes);
  if (plan.kind === 'sandbox_away') {
    await world.sandbox.leave(plan.downMs);
    await pause(plan.downMs);
  } else {
    await world.sandbox.kill();
    await pause(plan.downMs);
    await world.sandbox.start();
  }
  return { ...plan, inFlight, done: Promise.resolve(), note: null };
}

async function killPostgres(world: World, eyes: Eyes, plan: KillPlan): Promise<Killed> {
  const inFlight = await waitForAny(world, eyes);
  if (plan.kind === 'postgres_kill') await world.database.kill();
  else await world.database.crash();
  await pause(plan.downMs);
  await world.database.start();
  return { ...plan, inFlight, done: Promise.resolve(), note: null };
}
