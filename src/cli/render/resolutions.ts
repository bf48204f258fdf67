/** What `breaks resolve --as` takes. Loads nothing: the tree of commands reads it. */
import type { ResolutionAction, RestAction } from '../../core/settlement/resolution.ts';

export const RESOLUTIONS = [
  'acknowledge',
  'assign',
  'wait_for_psp',
  'accept',
  'suspense',
  'adjust',
  'expense',
  'write_off',
  'link',
  'reverse',
  'reopen',
] as const satisfies readonly ResolutionAction[];

/** What `--rest` takes: where goes what linked items leave of a line. */
export const RESTS = ['adjust', 'expense', 'suspense'] as const satisfies readonly RestAction[];
