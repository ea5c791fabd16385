// Search from a disk: there a browser starts no worker, so what a worker would run runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.body.appendChild(Object.assign(document.createElement("iframe"), { hidden: true }));
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => setTimeout((copy) => this.onmessage?.({ data: copy }), 0, structuredClone(data));
      this.loaded = new Promise((done) => {
        const script = Object.assign(inside.document.createElement("script"), { src: url, onload: done });
        inside.document.body.append(script);
      });
    }
    postMessage(data) {
      const copy = structuredClone(data); // as between threads
      this.loaded.then(() => this.frame.contentWindow?.dispatchEvent(new MessageEvent("message", { data: copy })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
