# mdp-lite serve on a CPU; for a GPU leave out the extra index, and run with --gpus all.
FROM python:3.12-slim
WORKDIR /app
COPY . .
# g++ compiles the kernel for the CPU and is gone in the same layer.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --no-install-recommends -y g++ \
    && PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
       pip install --no-cache-dir -c constraints.txt '.[serve]' \
    && apt-get purge -y g++ && apt-get autoremove -y && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 service && install -d -o service /data
USER 10001
WORKDIR /home/service
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live')"]
# Keys come from the variable MDP_LITE_API_KEYS: without one it does not start.
ENTRYPOINT ["mdp-lite", "serve", "--host", "0.0.0.0"]
