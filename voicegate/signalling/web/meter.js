// Loudness of a stream, from 0 to 1, read whenever somebody asks.

const FLOOR_DB = -60;
const CEILING_DB = -8;
// Speech through a codec is well above this, comfort noise and dither well below.
const SOUND_DB = -48;

export class Meter {
  #source; // held, or the browser may collect it
  #analyser;
  #samples;
  #receiver;

  // Only measures: the stream is heard through an <audio> element, because echo cancellation follows that one.
  // With a receiver, its own figure counts too: on a machine without a sound card the context never starts.
  constructor(context, stream, receiver = null) {
    this.#receiver = receiver;
    this.#analyser = context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#source = context.createMediaStreamSource(stream);
    this.#source.connect(this.#analyser);
  }

  get level() {
    return Math.min(1, Math.max(0, (this.#decibels() - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
  }

  get hasSound() {
    return this.#decibels() > SOUND_DB;
  }

  #decibels() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    const heard = this.#receiver?.getSynchronizationSources()[0]?.audioLevel ?? 0;
    return 10 * Math.log10(Math.max(sum / this.#samples.length, heard * heard, 1e-12));
  }
}
