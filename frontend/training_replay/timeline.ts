const EPOCH_MS = 550; // the way from one epoch to the next
const REPLAY_MS = 12000; // at most, for a whole run

/** The position in time: it moves towards a goal, and follows the newest epoch until the hand chooses another. */
export class Timeline {
  first = 0;
  last = 0;
  at = 0;
  goal = 0;
  replaying = false;
  private following = true;
  private before: number | undefined; // time of the last frame

  /** Other epochs; `anew`: of another run. */
  span(first: number, last: number, anew: boolean): void {
    [this.first, this.last] = [first, last];
    if (anew) {
      this.following = true;
      this.replaying = false;
      this.at = this.goal = last;
    }
    if (this.following && !this.replaying) this.goal = last;
  }

  get moving(): boolean {
    return this.at !== this.goal;
  }

  /** To an epoch by hand; the newest one is followed from then on. */
  go(epoch: number): void {
    this.replaying = false;
    this.goal = Math.min(this.last, Math.max(this.first, epoch));
    this.following = this.goal === this.last;
  }

  replay(): void {
    this.at = this.first;
    this.goal = this.last;
    this.replaying = this.following = true;
  }

  pause(): void {
    this.replaying = this.following = false;
    this.goal = Math.round(this.at);
  }

  /** Nearer to the goal. By hand it takes one step's time however far it is, in a replay one for each epoch. */
  advance(now: number, calm: boolean): void {
    const passed = Math.min(100, now - (this.before ?? now));
    const way = this.goal - this.at;
    const pace = this.replaying
      ? Math.max(1 / EPOCH_MS, (this.last - this.first) / REPLAY_MS)
      : Math.max(1, Math.abs(way)) / EPOCH_MS;
    const arrives = (calm && !this.replaying) || Math.abs(way) <= pace * passed;
    this.at = arrives ? this.goal : this.at + Math.sign(way) * pace * passed;
    if (arrives) this.replaying = false;
    this.before = arrives ? undefined : now;
  }
}
